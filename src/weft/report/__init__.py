"""What a person looks at: tables for the terminal, figures, and the one-page report of a run."""
