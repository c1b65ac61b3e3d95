"""How results are shown: sections of texts, tables and figures, as a page or as Markdown."""
