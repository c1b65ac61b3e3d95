"""How results are shown: sections of texts, tables and figures, written as a page or as Markdown."""
