"""HTTP: the layers that protect an application, and the answers that every server of studies gives."""
