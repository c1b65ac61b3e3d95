from conftest import train


def test_x(recipe):
    import time

    t = time.time()
    run = train(recipe())
    print(time.time() - t, run)
    t = time.time()
    run = train(recipe())
    print(time.time() - t, run)
    from clintune.evaluation.evaluate import evaluate_run

    t = time.time()
    evaluate_run(run, replicates=20, ablate_modalities=False)
    print(time.time() - t, run)
    print((run / "history.jsonl").read_text())
    import subprocess

    print(subprocess.run(["ls", "-laR", run], capture_output=True, text=True).stdout)
