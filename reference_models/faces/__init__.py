"""Faces in photographs: reading images, landmarks, alignment.

Needs the extra ``faces`` (OpenCV, dlib and its models): ``pip install "attnzoo[faces]"``.
"""
