"""The page that the daemon serves to a browser: read-only, and imported only where the setting `ui` says where."""
