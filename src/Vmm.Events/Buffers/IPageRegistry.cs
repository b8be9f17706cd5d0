namespace Vmm.Events.Buffers;

/// <summary>Who registers a pool's pages with the kernel. Buffers know no rings; this is the seam between them.</summary>
internal interface IPageRegistry
{
    /// <summary>A page is not used any more. On any thread, under the pool's lock.</summary>
    void PageGone(SlabPage page);
}
