"""The start-up bridge: makes the stock ``lm_eval`` command find this package's model and tasks.

Releases of lm-eval up to 0.4.13 discover no plugins, and later ones no tasks. So ``lm_eval_baichuan.pth`` imports this
module in every Python process of the environment, and this module waits for lm-eval: it adds a finder that finds
nothing itself, but lets :mod:`.registration` follow the import of the lm-eval modules that it completes, and tell
by them what this lm-eval does itself.

Because it runs everywhere, it imports nothing but ``os`` and ``sys``, does nothing until lm-eval is imported, and lets
no exception out. ``LM_EVAL_BAICHUAN_NO_BRIDGE=1`` switches it off.
"""

import os
import sys

TYPE_CHECKING = False  # the typing module would take longer to import than all the rest here
if TYPE_CHECKING:
    from typing import Any

SWITCH_OFF = "LM_EVAL_BAICHUAN_NO_BRIDGE"

FOLLOWED = {
    # a module of lm-eval: the function of .registration that completes it
    "lm_eval.models": "register_models",
    "lm_eval.tasks.manager": "complete_task_manager",
    "lm_eval._cli.run": "look_after_command",
}


class FollowingFinder:
    """A finder on ``sys.meta_path`` that finds as if it weren't there, and has registration follow."""

    @classmethod
    def find_spec(cls, name: str, path: "Any" = None, target: "Any" = None) -> "Any":
        """Find the spec that the other finders would; for the followed modules, make registration run after them."""
        function = FOLLOWED.get(name)
        if function is None:
            return None
        try:
            for finder in sys.meta_path:
                spec = None if finder is cls else finder.find_spec(name, path, target)
                if spec is not None:
                    _run_after(spec.loader, function)
                    return spec
        except Exception:  # whatever is odd about this interpreter's finders, they must still do their work without us
            return None
        return None


def _run_after(loader: "Any", function: str) -> None:
    """Let the loader run its module, and then the named function of :mod:`.registration`."""
    exec_module = loader.exec_module

    def exec_then_register(module: "Any") -> None:
        exec_module(module)
        try:
            from . import registration

            getattr(registration, function)()
        except Exception as error:
            import logging

            logging.getLogger("lm_eval_baichuan").warning(
                "lm-eval-baichuan could not register itself with this lm-eval (%s: %s). Its models or tasks may be "
                "missing; `python -m lm_eval_baichuan` in place of `lm_eval` says more.",
                type(error).__name__,
                error,
            )

    loader.exec_module = exec_then_register


if os.environ.get(SWITCH_OFF, "0") in ("", "0"):
    sys.meta_path.insert(0, FollowingFinder)
