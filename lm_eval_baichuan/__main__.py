"""``python -m lm_eval_baichuan …``: lm-eval's command line with this package registered, start-up bridge or not."""

from __future__ import annotations

from .registration import complete_task_manager, look_after_command, register_models


def main() -> None:
    """Register with lm-eval, then hand over to its command line."""
    from lm_eval.__main__ import cli_evaluate

    register_models()
    complete_task_manager()
    look_after_command()
    cli_evaluate()


if __name__ == "__main__":
    main()
