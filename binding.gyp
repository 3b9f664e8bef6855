{
  # CMakeLists.txt holds the one list of sources. This file lets node-gyp, node-gyp-build and prebuildify reach it:
  # an empty target whose action calls the CMake build and puts the addon where they look for it.
  'targets': [{
    'target_name': 'prl',
    'type': 'none',
    'actions': [{
      'action_name': 'cmake',
      'inputs': [],
      'outputs': ['<(PRODUCT_DIR)/always-run'],
      'action': ['node', 'scripts/build-native.mjs', '--out', '<(PRODUCT_DIR)'],
    }],
  }],
}
