"""The kinds of question: each says its labels, outputs, loss, metrics, figures and tables."""
