"""Alembic's entry. The connection comes from `feedwatch.store.database.upgrade`."""

from alembic import context

from feedwatch.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
