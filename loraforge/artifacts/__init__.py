"""Output files of instances: manifest, download, deletion."""
