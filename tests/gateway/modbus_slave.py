"""A Modbus slave by other hands (pymodbus), at address 9: `modbus_slave.py tcp|rtu-over-tcp PORT` or `rtu|ascii PATH`."""
import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusAsciiFramer, ModbusRtuFramer, ModbusSocketFramer

temperature = struct.unpack(">HH", struct.pack(">f", 21.5))
slave = ModbusSlaveContext(
    co=ModbusSequentialDataBlock(0, [1, 0, 1, 1] + [0] * 28),
    di=ModbusSequentialDataBlock(0, [0, 1] + [0] * 30),
    hr=ModbusSequentialDataBlock(0, [100 + r for r in range(150)]),
    ir=ModbusSequentialDataBlock(0, [*temperature, 0xFFFE, 7] + [0] * 28),
    zero_mode=True,
)
context = ModbusServerContext(slaves={9: slave}, single=False)
framer = {"tcp": ModbusSocketFramer, "ascii": ModbusAsciiFramer}.get(sys.argv[1], ModbusRtuFramer)
if sys.argv[1].endswith("tcp"):
    StartTcpServer(context=context, framer=framer, address=("127.0.0.1", int(sys.argv[2])), allow_reuse_address=True)
else:
    StartSerialServer(context=context, framer=framer, port=sys.argv[2], baudrate=19200)
