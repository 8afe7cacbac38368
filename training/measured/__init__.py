"""The measured teacher: findings measured on the image itself, by known methods, offline.

What a caption states here can be measured again, so its faithfulness can be checked.
"""
