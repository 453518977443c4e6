# Of deb.sh: what is in the machine before it boots. Of feedwatch nothing is.
install -D -m 0644 feed.xml /srv/feed/feed.xml
