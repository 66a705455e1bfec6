"""From MLflow to tables and figures. It never trains, and imports nothing else of the project: tables are the only bridge."""
