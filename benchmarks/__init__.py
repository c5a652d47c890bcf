"""What produces the figures in the documents; the tests share the inputs."""
