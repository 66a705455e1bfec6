"""The store of encoded imagery: each codec and level is encoded once per machine and read by every trial."""
