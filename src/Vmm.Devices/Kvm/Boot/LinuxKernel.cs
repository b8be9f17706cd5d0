using System.Buffers.Binary;

namespace Vmm.Devices.Kvm;

/// <summary>How a kernel that was loaded is entered.</summary>
/// <param name="Address">Guest-physical address of its first instruction.</param>
/// <param name="IsPvh">By the PVH protocol in 32-bit mode; else by the 64-bit protocol of Linux.</param>
/// <param name="End">The first byte behind the kernel and behind the room that it needs to unpack itself.</param>
internal readonly record struct KernelEntry(ulong Address, bool IsPvh, ulong End)
{
    /// <summary>The setup header of a bzImage, from byte 0x1f1 of the file on; empty for an ELF file.</summary>
    internal ReadOnlyMemory<byte> SetupHeader { get; init; }

    /// <summary>Highest address that a byte of the initrd may have.</summary>
    internal ulong InitrdLast { get; init; } = BootLayout.Hole - 1;

    /// <summary>Longest command line, without its closing zero.</summary>
    internal int CommandLineMax { get; init; } = BootLayout.CommandLineMax - 1;
}

/// <summary>Loads a Linux kernel into guest memory: an uncompressed ELF file or a bzImage.</summary>
internal static class LinuxKernel
{
    private const uint ElfMagic = 0x464c_457f;
    internal const int BzImageMagicOffset = 0x202;
    private const uint BzImageMagic = 0x5372_6448;

    /// <summary>Loads a kernel from a whole file, whose name is for messages.</summary>
    /// <exception cref="BootException">It is no kernel that can be booted, or the memory is too small for it.</exception>
    internal static KernelEntry Load(ReadOnlyMemory<byte> file, string name, GuestMemory memory)
    {
        ReadOnlySpan<byte> bytes = file.Span;
        if (bytes.Length > sizeof(uint) && BinaryPrimitives.ReadUInt32LittleEndian(bytes) == ElfMagic)
            return new ElfKernel(file, name).Load(memory);
        if (bytes.Length > BzImageMagicOffset + sizeof(uint)
            && BinaryPrimitives.ReadUInt32LittleEndian(bytes[BzImageMagicOffset..]) == BzImageMagic)
            return new BzImageKernel(file, name).Load(memory);
        throw new BootException($"'{name}' is no Linux kernel: neither an ELF file (vmlinux) nor a bzImage (vmlinuz) for x86");
    }
}
