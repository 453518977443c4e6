"""What we know, kept in a database. The one part that speaks SQL."""

from feedwatch.store.errors import StoreError
from feedwatch.store.figures import Figures, Vitals
from feedwatch.store.outbox import Parcel
from feedwatch.store.store import Admission, Due, Store, Tally

__all__ = ["Admission", "Due", "Figures", "Parcel", "Store", "StoreError", "Tally", "Vitals"]
