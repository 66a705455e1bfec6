"""The engine: the plan, running it on Ray Tune, telling MLflow, the command line. It knows no task and no architecture by name."""
