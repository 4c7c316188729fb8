"""Planning: settings that a recipe leaves open, chosen from the scans."""
