"""From MLflow to tables, figures and a report. Trains nothing and imports no other package of the project.

Modules from bottom to top; each imports only modules that stand before it, and only `tracking` imports MLflow:

    estimands  paper  results  tracking  recovery  words  provenance  figures  page  published  report
"""
