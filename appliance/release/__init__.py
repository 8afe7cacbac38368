"""What a model release is: manifest, hashes, place; how a pair made elsewhere becomes one, and how
it is measured. `demonstration/` ships with the package."""
