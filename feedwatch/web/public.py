"""The application of the public side."""

from flask import Flask

from feedwatch.web import callbacks, websub
from feedwatch.web.public_side import PublicSide, explain
from feedwatch.web.served_feeds import served_feeds


def public_application(side: PublicSide) -> Flask:
    """All that the world may ask for."""
    app = Flask(__name__, static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.register_blueprint(served_feeds(side))
    app.register_blueprint(websub.callbacks(side))
    app.register_blueprint(callbacks.callbacks(side))
    app.register_error_handler(Exception, explain)
    return app
