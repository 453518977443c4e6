"""What we know, kept in a database. The one part that speaks SQL."""
