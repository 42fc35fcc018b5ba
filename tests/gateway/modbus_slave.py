"""A Modbus slave by other hands (pymodbus): `modbus_slave.py tcp PORT` or `modbus_slave.py rtu PATH`, at address 9."""
import struct
import sys

from pymodbus.datastore import ModbusSequentialDataBlock, ModbusServerContext, ModbusSlaveContext
from pymodbus.server import StartSerialServer, StartTcpServer
from pymodbus.transaction import ModbusRtuFramer

temperature = struct.unpack(">HH", struct.pack(">f", 21.5))
slave = ModbusSlaveContext(
    co=ModbusSequentialDataBlock(0, [1, 0, 1, 1] + [0] * 28),
    di=ModbusSequentialDataBlock(0, [0, 1] + [0] * 30),
    hr=ModbusSequentialDataBlock(0, [100 + r for r in range(150)]),
    ir=ModbusSequentialDataBlock(0, [*temperature, 0xFFFE, 7] + [0] * 28),
    zero_mode=True,
)
context = ModbusServerContext(slaves={9: slave}, single=False)
if sys.argv[1] == "tcp":
    StartTcpServer(context=context, address=("127.0.0.1", int(sys.argv[2])))
else:
    StartSerialServer(context=context, framer=ModbusRtuFramer, port=sys.argv[2], baudrate=19200)
