"""The report of a run: one HTML file with the pictures inside. `recipes.report.page.write_report` writes it."""
