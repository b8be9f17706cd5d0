using System.Runtime.InteropServices;

namespace Vmm.Devices;

/// <summary>What a control message says (virtio 1.2 § 5.3.6.2).</summary>
internal enum ConsoleEvent : ushort
{
    /// <summary>Driver: it can take control messages.</summary>
    DeviceReady = 0,
    /// <summary>Device: there is a port.</summary>
    DeviceAdd = 1,
    /// <summary>Device: a port is gone.</summary>
    DeviceRemove = 2,
    /// <summary>Driver: it has set the port up.</summary>
    PortReady = 3,
    /// <summary>Device: the port is a console.</summary>
    ConsolePort = 4,
    /// <summary>Device: the console's size, which follows.</summary>
    Resize = 5,
    /// <summary>Both: the sender has the port open, or has closed it.</summary>
    PortOpen = 6,
    /// <summary>Device: the port's name, which follows.</summary>
    PortName = 7,
}

/// <summary>struct virtio_console_control.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ConsoleControl
{
    internal uint Port;
    internal ConsoleEvent Event;
    internal ushort Value;
}

/// <summary>struct virtio_console_resize.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ConsoleSize
{
    internal ushort Columns;
    internal ushort Rows;
}

/// <summary>The numbers of the console device's protocol (virtio 1.2 § 5.3).</summary>
internal static class ConsoleProtocol
{
    internal const ulong FeatureSize = 1UL << 0;
    internal const ulong FeatureMultiport = 1UL << 1;
    internal const ulong FeatureEmergencyWrite = 1UL << 2;

    // struct virtio_console_config.
    internal const int ConfigLength = 12;
    internal const int ConfigSize = 0;
    internal const int ConfigPortsMax = 4;
    internal const int ConfigEmergencyWrite = 8;

    internal const int ControlReceiveQueue = 2;
    internal const int ControlTransmitQueue = 3;

    /// <summary>Port 0 has queues 0 and 1, the control queues follow, then the other ports.</summary>
    internal static int ReceiveQueueOf(int port) => port == 0 ? 0 : 2 + (2 * port);

    internal static int TransmitQueueOf(int port) => ReceiveQueueOf(port) + 1;
}
