"""The study at a glance: pages for people, made on the server, that load nothing from elsewhere."""
