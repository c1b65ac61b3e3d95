"""A small recipe of a person's own, as text that a test may change."""

RECIPE = """defaults:
  - base
  - cohort: [meds]
  - modality: [static]
  - task@tasks.y: binary
  - override /backbone: tiny
  - _self_
cohorts: {meds: {root: somewhere}}
tasks: {y: {label: y}}
"""
