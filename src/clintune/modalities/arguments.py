"""The arguments with which a component was constructed, as a part of the keys of caches."""

import inspect
from typing import Any, Self


class KeepsArguments:
    """A base that keeps the arguments of the constructor, defaults included, as `arguments`.

    They are kept by themselves, so that no list by hand can forget one: a cache would then answer
    with what other settings made.
    """

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Make the component, and keep its arguments."""
        self = super().__new__(cls)
        # A copy, or one that is unpickled, comes without arguments, and gets them with its state.
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        _, *arguments = bound.arguments.items()  # without the component itself
        self.__dict__["arguments"] = dict(arguments)
        return self
