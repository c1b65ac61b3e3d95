"""The contracts of modalities and tasks as named checks, for ours and for yours.

Use them with pytest:

    CHECKS = check_modality(lambda: MyModality(...), tmp_folder)

    @pytest.mark.parametrize("check", [pytest.param(run, id=name) for name, run in CHECKS])
    def test_contract(check):
        check()
"""

from clintune.testing.modalities import check_modality
from clintune.testing.tasks import check_task

__all__ = ["check_modality", "check_task"]
