"""Training and evaluation of one network. Knows no task, no Ray and no MLflow."""
