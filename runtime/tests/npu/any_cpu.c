/* For tests: OpenVINO's plugin on CPUs of every maker.
 *
 * OpenVINO runs on CPUs of AMD and others, but its plugin offers only devices whose vendor is Intel (microsoft/onnxruntime
 * pull request 31981). This is a plugin that loads the real one, named by BABIL_TEST_PLUGIN, and answers the one question of
 * who made a CPU for it. Everything else goes to ONNX Runtime itself. It is built and used by `just npu` alone.
 */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
  /* Functions of OrtApi 31, in their order: HardwareDevice_Type, HardwareDevice_VendorId, and how many there are. */
  TYPE = 307,
  VENDOR = 308,
  COUNT = 428,
  CPU = 0,
  INTEL = 0x8086,
};

struct api_base {
  const void *(*get_api)(uint32_t version);
  const char *(*version)(void);
};

typedef void *create(const char *, const struct api_base *, const void *, void **, size_t, size_t *);
typedef void *release(void *);

static const struct api_base *onnxruntime;
static void *functions[COUNT];
static uint32_t (*type_of)(const void *device);
static uint32_t (*vendor_of)(const void *device);
static void *plugin;

static uint32_t vendor(const void *device) { return type_of(device) == CPU ? INTEL : vendor_of(device); }

static const void *get_api(uint32_t version) {
  const void *api = onnxruntime->get_api(version);
  if (!api) return NULL;
  memcpy(functions, api, sizeof functions);
  memcpy(&type_of, &functions[TYPE], sizeof type_of);
  memcpy(&vendor_of, &functions[VENDOR], sizeof vendor_of);
  uint32_t (*own)(const void *) = vendor;
  memcpy(&functions[VENDOR], &own, sizeof own);
  return functions;
}

static const char *version(void) { return onnxruntime->version(); }

static const struct api_base base = {get_api, version};

void *CreateEpFactories(const char *name, const struct api_base *api, const void *logger, void **factories, size_t most,
                        size_t *count) {
  onnxruntime = api;
  const char *path = getenv("BABIL_TEST_PLUGIN");
  plugin = path ? dlopen(path, RTLD_NOW) : NULL;
  create *make = plugin ? (create *)dlsym(plugin, "CreateEpFactories") : NULL;
  *count = 0;
  return make ? make(name, &base, logger, factories, most, count) : NULL;
}

void *ReleaseEpFactory(void *factory) {
  release *drop = plugin ? (release *)dlsym(plugin, "ReleaseEpFactory") : NULL;
  return drop ? drop(factory) : NULL;
}
