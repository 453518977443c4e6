"""The database: tables, migrations, short transactions; the only package that has SQL."""
