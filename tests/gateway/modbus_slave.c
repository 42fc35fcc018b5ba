/* A Modbus slave by other hands (libmodbus): `slave tcp PORT` or `slave rtu PATH`, at address 9, with the same registers as
 * modbus_slave.py. */
#include <errno.h>
#include <modbus.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
  int tcp = argc == 3 && strcmp(argv[1], "tcp") == 0;
  modbus_t *line = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], 19200, 'N', 8, 1);
  modbus_mapping_t *map = modbus_mapping_new(32, 32, 150, 32);
  if (!line || !map || modbus_set_slave(line, 9))
    return 1;
  map->tab_bits[0] = map->tab_bits[2] = map->tab_bits[3] = 1;
  map->tab_input_bits[1] = 1;
  for (int r = 0; r < 150; r++)
    map->tab_registers[r] = 100 + r;
  map->tab_input_registers[0] = 0x41AC; /* 21.5 */
  map->tab_input_registers[2] = 0xFFFE;
  unsigned char asked[MODBUS_TCP_MAX_ADU_LENGTH];
  int listener = tcp ? modbus_tcp_listen(line, 1) : -1;
  do {
    if (tcp ? modbus_tcp_accept(line, &listener) < 0 : modbus_connect(line) < 0)
      return 1;
    for (int length = 0; length >= 0 || (!tcp && errno != EIO);) {
      length = modbus_receive(line, asked);
      if (length > 0)
        modbus_reply(line, asked, length, map);
    }
  } while (tcp);
  return 0;
}
