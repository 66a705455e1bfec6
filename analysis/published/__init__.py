"""The results that the README shows: committed as compact files, and rendered from them.

    python -m analysis.published export runs/report/demo docs/results    write docs/results/TASK.parquet from a study's report
    python -m analysis.published readme                                  rewrite the marked blocks of README.md, draw the figures

Modules from bottom to top: `files`, `blocks`, `__main__`.
"""
