"""An offline clinic appliance: a picture in; a caption, citations and a record out."""

__version__ = "0.1.0"
