"""Pictures, video and drawing. OpenCV, simplejpeg and PyAV stay behind it."""
