"""The stream of codes with values and times: its statistics, reader, summary and encoders."""
