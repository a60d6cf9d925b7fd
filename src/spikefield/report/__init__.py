"""Result tables, figures and the one-file HTML page."""
