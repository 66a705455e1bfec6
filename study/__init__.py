"""The engine: plan, Ray Tune, MLflow, command line. It knows no task and no architecture by name."""
