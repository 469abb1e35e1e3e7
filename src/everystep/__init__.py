"""everystep teaches open Gemma models to show their work, and checks that work claim by claim."""

__version__ = "0.1.0"
