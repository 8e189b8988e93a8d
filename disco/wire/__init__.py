"""What processes of disco tell each other, and how it travels."""
