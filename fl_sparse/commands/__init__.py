"""The library's commands: one module each, with ``SUMMARY``, ``add_arguments(parser)`` and ``run(args)``."""
