"""Make `import tensorrt` work where only its bindings are installed; goes into site-packages."""

import sys

import tensorrt_bindings

sys.modules[__name__] = tensorrt_bindings
