"""What a model release is: manifest, hashes, place. `demonstration/` ships with the package."""
