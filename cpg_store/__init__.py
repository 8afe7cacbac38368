"""The guideline store: PDF and Markdown in, verbatim passages with document, edition and page out.

It reads, splits, embeds, indexes and searches guideline text. It knows nothing of images,
captions, clinicians or screens, and imports none of the project's other packages.
"""
