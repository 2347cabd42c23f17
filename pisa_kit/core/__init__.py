"""What everything stands on: errors, atomic files, names of artefacts, progress bars, jobs in processes, devices.

May import nothing else of the package.
"""
