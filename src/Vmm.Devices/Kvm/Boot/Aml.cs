using System.Buffers.Binary;
using System.Text;

namespace Vmm.Devices.Kvm;

/// <summary>
/// Writes the little of ACPI Machine Language that describes a machine's devices (ACPI § 20.2). Each function gives the bytes of one term.
/// </summary>
internal static class Aml
{
    /// <summary>Longest term: what four bytes of length can say (ACPI § 20.2.4).</summary>
    private const int PackageBytesMax = (1 << 28) - 1;

    private const byte ZeroOp = 0x00;
    private const byte OneOp = 0x01;
    private const byte NameOp = 0x08;
    private const byte BytePrefix = 0x0a;
    private const byte WordPrefix = 0x0b;
    private const byte DWordPrefix = 0x0c;
    private const byte StringPrefix = 0x0d;
    private const byte QWordPrefix = 0x0e;
    private const byte ScopeOp = 0x10;
    private const byte BufferOp = 0x11;
    private const byte PackageOp = 0x12;
    private const byte MethodOp = 0x14;
    private const byte NotifyOp = 0x86;
    private const byte ReturnOp = 0xa4;
    private const byte OperationRegionOp = 0x80;
    private const byte FieldOp = 0x81;
    private const byte SystemIo = 1;
    private const byte ByteAccess = 1;
    private const byte IfOp = 0xa0;
    private const byte ExtendedPrefix = 0x5b;
    private const byte DeviceOp = 0x82;

    /// <summary>Scope (path) { terms }. The path is absolute, with one segment: <c>\_SB</c>.</summary>
    internal static byte[] Scope(string path, params byte[][] terms) => Sized([ScopeOp], [NameString(path), .. terms]);

    /// <summary>Device (name) { terms }.</summary>
    internal static byte[] Device(string name, params byte[][] terms) => Sized([ExtendedPrefix, DeviceOp], [NameString(name), .. terms]);

    /// <summary>Method (name, arguments) { terms }.</summary>
    internal static byte[] Method(string name, byte arguments, params byte[][] terms) =>
        Sized([MethodOp], [NameString(name), [arguments], .. terms]);

    /// <summary>If (name) { terms }: in a method.</summary>
    internal static byte[] IfSet(string name, params byte[][] terms) => Sized([IfOp], [NameString(name), .. terms]);

    /// <summary>Return (value).</summary>
    internal static byte[] Return(ulong value) => [ReturnOp, .. Integer(value)];

    /// <summary>Names for single bits of the ports of a region, from the first on (ACPI § 20.2.5.2).</summary>
    internal static byte[] PortBits(string region, int start, byte bytes, IEnumerable<string> bits) =>
    [
        ExtendedPrefix, OperationRegionOp, .. NameString(region), SystemIo, .. Integer((ulong)start), .. Integer(bytes),
        .. Sized([ExtendedPrefix, FieldOp],
            [NameString(region), [ByteAccess], .. bits.Select(bit => (byte[])[.. NameString(bit), 1])]),
    ];

    /// <summary>Notify (device, value): has the device's driver look at it.</summary>
    internal static byte[] Notify(string device, byte value) => [NotifyOp, .. NameString(device), .. Integer(value)];

    /// <summary>Name (name, value).</summary>
    internal static byte[] Name(string name, byte[] value) => [NameOp, .. NameString(name), .. value];

    /// <summary>Package () { values }.</summary>
    internal static byte[] Package(params byte[][] values) => Sized([PackageOp], [[checked((byte)values.Length)], .. values]);

    /// <summary>An integer in its shortest form.</summary>
    internal static byte[] Integer(ulong value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return value switch
        {
            0 => [ZeroOp],
            1 => [OneOp],
            <= byte.MaxValue => [BytePrefix, .. bytes[..1]],
            <= ushort.MaxValue => [WordPrefix, .. bytes[..2]],
            <= uint.MaxValue => [DWordPrefix, .. bytes[..4]],
            _ => [QWordPrefix, .. bytes],
        };
    }

    /// <summary>A string of ASCII characters.</summary>
    internal static byte[] Text(string value) => [StringPrefix, .. Encoding.ASCII.GetBytes(value), 0];

    /// <summary>A plug-and-play id such as <c>PNP0501</c>, packed into 32 bits (ACPI § 19.3.4, EISAID).</summary>
    internal static byte[] EisaId(string id)
    {
        int vendor = ((id[0] - '@') << 10) | ((id[1] - '@') << 5) | (id[2] - '@');
        ushort product = Convert.ToUInt16(id[3..], 16);
        return [DWordPrefix, (byte)(vendor >> 8), (byte)vendor, (byte)(product >> 8), (byte)product];
    }

    /// <summary>ResourceTemplate () { descriptors }, with its end.</summary>
    internal static byte[] Resources(params byte[][] descriptors)
    {
        // The end tag, with a checksum of 0: not checked (ACPI § 6.4.2.9).
        byte[] all = [.. Joined(descriptors), 0x79, 0];
        return Sized([BufferOp], [Integer((ulong)all.Length), all]);
    }

    /// <summary>A fixed range of memory-mapped registers (ACPI § 6.4.3.4).</summary>
    internal static byte[] Memory32(uint start, uint length)
    {
        byte[] descriptor = [0x86, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(4), start);
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(8), length);
        return descriptor;
    }

    /// <summary>A range of ports, decoded in 16 bits (ACPI § 6.4.2.5).</summary>
    internal static byte[] Ports(ushort start, byte length) =>
        [0x47, 1, (byte)start, (byte)(start >> 8), (byte)start, (byte)(start >> 8), 1, length];

    /// <summary>An edge-triggered, active-high interrupt of the device's own (ACPI § 6.4.3.6).</summary>
    internal static byte[] Interrupt(uint gsi)
    {
        const byte consumerEdgeHigh = 3;
        byte[] descriptor = [0x89, 6, 0, consumerEdgeHigh, 1, 0, 0, 0, 0];
        BinaryPrimitives.WriteUInt32LittleEndian(descriptor.AsSpan(5), gsi);
        return descriptor;
    }

    /// <summary>An opcode, the length of what follows (the length's own bytes counted), and that.</summary>
    private static byte[] Sized(byte[] opcode, byte[][] parts)
    {
        byte[] body = Joined(parts);
        return [.. opcode, .. PackageLength(body.Length), .. body];
    }

    private static byte[] Joined(byte[][] parts)
    {
        int length = 0;
        foreach (byte[] part in parts) length += part.Length;
        byte[] all = new byte[length];
        int end = 0;
        foreach (byte[] part in parts)
        {
            part.CopyTo(all, end);
            end += part.Length;
        }
        return all;
    }

    /// <summary>The length of a term of so many bytes: one byte up to 63, else two to four (ACPI § 20.2.4).</summary>
    internal static byte[] PackageLength(int bodyBytes)
    {
        if (bodyBytes + 1 < 1 << 6) return [(byte)(bodyBytes + 1)];
        for (int following = 1; following <= 3; following++)
        {
            int length = bodyBytes + 1 + following;
            if (length >= 1 << (4 + 8 * following)) continue;
            byte[] encoded = new byte[1 + following];
            encoded[0] = (byte)((following << 6) | (length & 0xf));
            for (int i = 0; i < following; i++) encoded[1 + i] = (byte)(length >> (4 + 8 * i));
            return encoded;
        }
        throw new ArgumentOutOfRangeException(nameof(bodyBytes), bodyBytes, $"a term has at most {PackageBytesMax} bytes");
    }

    /// <summary>A path of one segment, padded to four characters.</summary>
    private static byte[] NameString(string path)
    {
        int root = path.StartsWith('\\') ? 1 : 0;
        byte[] name = root == 1 ? [.. "\\____"u8] : [.. "____"u8];
        Encoding.ASCII.GetBytes(path, name);
        return name;
    }
}
