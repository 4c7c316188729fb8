"""Planning: settings that a recipe leaves open, computed from the scans."""
