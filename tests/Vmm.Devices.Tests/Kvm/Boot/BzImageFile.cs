using System.Buffers.Binary;

namespace Vmm.Devices.Tests.Kvm;

/// <summary>Makes small bzImages: a setup header, and code at the 64-bit entry.</summary>
internal static class BzImageFile
{
    internal const ulong LoadAddress = 0x20_0000;
    internal const ulong Entry = LoadAddress + 0x200;

    internal static byte[] Of(byte[] code, Action<byte[]>? spoil = null)
    {
        const int setupBytes = 5 * 512;
        byte[] file = new byte[setupBytes + 0x200 + code.Length];
        Span<byte> bytes = file;
        bytes[0x1f1] = 4;
        bytes[0x201] = 0x66;
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[0x202..], 0x5372_6448);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[0x206..], 0x20f);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[0x22c..], 0x7fff_ffff);
        BinaryPrimitives.WriteUInt16LittleEndian(bytes[0x236..], 1);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[0x238..], 2047);
        BinaryPrimitives.WriteUInt64LittleEndian(bytes[0x258..], LoadAddress);
        BinaryPrimitives.WriteUInt32LittleEndian(bytes[0x260..], 0x10_0000);
        code.CopyTo(file, setupBytes + 0x200);
        spoil?.Invoke(file);
        return file;
    }
}
